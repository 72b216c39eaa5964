"""What a checkpoint says of the experts of a mixture: which of them lack a scale, or have one that no calibration made.

states.py the states that an expert can be in; coverage.py what is known of all of them, as the screen and the reports
take it; judged.py what the numbers of one scale over the experts say; gathering.py makes it of records and their
numbers. report.py and payload.py the answers for people and for programs; cli.py `qinspect experts`.
"""
