"""Which method made each weight of a quantized checkpoint, told from the codes and the model they were made of.

layout.py puts values together that share a scale, steps.py finds the scale that codes and values stand for, rules.py
holds the scales that maxima give, rounding.py says which codes are the nearest ones, factors.py finds a factor of each
input channel, twice.py a quantization before the last, evidence.py measures all of it, and judge.py concludes;
again.py finds what was done to a weight before. in_steps.py gives the errors themselves, for whoever draws them.
cli.py is `qinspect whence`, fidelity_cli.py `qinspect fidelity`.
"""
