"""Does it matter? What a quantization does to the predictions of a model.

settings.py what was asked for; candidate.py what is evaluated, a checkpoint or an alpha of a run; executor.py the
reference's modules with its weights in them, and with its activations, by fake_quantize.py; batching.py how much of it
is on a device at a time. tokens.py the figures of each token, intervals.py how sure their means are, best.py whether
the best of several is it on other documents, other_batch.py what another batch does. items.py what tasks ask,
answers.py what is right item by item, tasks.py both for all models. through.py the same checkpoints as a library runs
them. seen_text.py whether a calibration saw the text, same_tokens.py whether its ids mean the same to a model.
layout.py which files there are, kept.py what stays of tokens and answers, live.py the figures so far, stored.py these
and the result read again, known.py which run evaluated two checkpoints. results.py what came of it, report.py and
payload.py for people and for programs; work.py the whole of it, cli.py `qinspect evaluate`.
"""
