"""What goes into a model: files of text, JSON lines, parquet or token ids become token sequences in a stated order.

data.py the samples of a run, and the hash that names them. documents.py where they are read from. tokens.py from
text to token ids. compressed.py files that may be compressed. No torch in here.
"""
