"""What one checkpoint holds.

tree.py its entries as a tree, with repetition folded. parameters.py how many parameters they are. survey.py all its
scales, and which of them cannot be right. report.py and payload.py the answers for people and for programs; cli.py
`qinspect tree` and `qinspect scales`.
"""
