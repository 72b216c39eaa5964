"""What a quantization does to the predictions, drawn: intervals of several models on one axis (intervals.py), KL along
positions and confidence (panels.py), and both with their words (page.py). rows.py is what they are drawn of, table.py
what is saved."""
