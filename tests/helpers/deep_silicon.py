"""The scanner that these tests share: thresholds [keV] of its detector, and the search box (M, 2) [g/cm2]."""

THRESHOLDS = (15, 33, 45, 59, 120)
BOX = ((-5, 35), (-5, 10))
