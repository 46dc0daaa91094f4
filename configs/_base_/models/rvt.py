# RVT-B. The neck's channels, the head's channels and strides, and the padding follow from the
# backbone; its input channels from the representation; the number of classes from the class set.
model = dict(
    type="RecurrentDetector",
    backbone=dict(
        type="MaxViTRNN",
        embed_dims=64,
        head_dim=32,
        patch_size=4,
        partition_size=(
            6,
            10,
        ),  # (rows, columns) of an attention group, for frames padded to 384 x 640
        out_stages=(2, 3, 4),  # strides 8, 16, 32
    ),
    neck=dict(
        type="YOLOXPAFPN",
        num_csp_blocks=2,
        norm_cfg=dict(type="BN", eps=1e-5, momentum=0.1),
        act_cfg=dict(type="SiLU", inplace=False),  # Swish in one operator
    ),
    bbox_head=dict(type="RVTYOLOXHead"),
    train_cfg=dict(assigner=dict(type="RVTSimOTAAssigner")),
    # 0.001 is for evaluation, which uses up to 100 boxes per class and frame. A deployment needs
    # a higher threshold (tools/tune_thresholds.py).
    test_cfg=dict(score_thr=0.001, nms_pre=5000, nms=dict(type="nms", iou_threshold=0.45)),
)
