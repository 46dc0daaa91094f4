# Made by tools/inspect_data.py from data/etram_raw: 13343 training boxes, rule classes (90 % of pedestrian, bicycle,
# motorbike, wheelchair are smaller than small_area, 75 % of car than medium_area).
# 52.6 % of these boxes weigh more than 1; areas are network pixels squared.
size_thresholds = dict(small_area=3797.1, medium_area=8300.3, size_weight=2.0)
