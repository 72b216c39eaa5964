"""Does it matter? What a quantization does to the predictions of a model.

settings.py what was asked for; executor.py a model that runs with the weights and activations of a checkpoint, by
fake_quantize.py; tokens.py the figures of each token, and intervals.py how sure their means are. results.py what came of
it, report.py and payload.py for people and for programs; work.py the whole of it, cli.py `qinspect evaluate`.
"""
