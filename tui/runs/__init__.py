"""What the runs screen is made of: watching runs, reading their logs, the form that starts one. No numpy in here.

`inspector.runs` is imported by these modules only when the screen is open, or where runs exist: see `service`.
"""
