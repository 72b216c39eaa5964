"""Does it matter? What a quantization does to the predictions of a model.

settings.py what was asked for; candidate.py what is evaluated, a checkpoint or an alpha of a run; executor.py the
reference's modules with its weights in them, and with its activations, by fake_quantize.py. batching.py how much of it
is on a device at a time. tokens.py the figures of
each token, intervals.py how sure their means are. items.py what tasks ask, answers.py what is right item by item,
tasks.py both for all models. seen_text.py whether a calibration saw the text. kept.py what stays of them. results.py
what came of it, report.py and payload.py for people and for programs; work.py the whole of it, cli.py
`qinspect evaluate`.
"""
