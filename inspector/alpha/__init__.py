"""Alpha, both ways: `sweep`, what every alpha does to every point of a calibration; `recover`, which alpha made a
checkpoint's scales. `dual`: two steps and a bit that chooses between them. cli.py is `qinspect alpha`."""
