"""What must be fast: each kernel has one signature, a GPU body, a CPU body, a reference and a benchmark.

Empty so far: the first kernel is the exact magnitude count. Nothing here imports the inspector or the screen.
"""
