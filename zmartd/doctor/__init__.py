"""The doctor: looks at everything that a daemon depends on, and says of each what is wrong and what mends it.

A file for each subject; `zmartd.doctor.catalogue` lists the checks, `zmartd.doctor.examination` runs them.
"""
