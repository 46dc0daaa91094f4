"""Pictures of event frames, boxes and detections."""

from .contact_sheet import contact_sheet
from .draw import draw_boxes, draw_frame, events_to_rgb

__all__ = ["contact_sheet", "draw_boxes", "draw_frame", "events_to_rgb"]
