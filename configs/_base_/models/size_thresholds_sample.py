# Made by tools/inspect_data.py from data/etram_raw: 2928 training boxes, rule classes (90 % of
# pedestrian, bicycle, motorbike, wheelchair are smaller than small_area, 75 % of car than
# medium_area).
# 47.0 % of these boxes weigh more than 1; areas are network pixels squared.
size_thresholds = dict(small_area=923.7, medium_area=2209.1, size_weight=2.0)
