# The first experiments of this project, repeated at equal samples seen, with the same schedule,
# threshold and protocol (docs/ablation.md):
# python tools/ablate.py configs/ablations/seed_experiment.py
baseline = "baseline"
seeds = (0, 1, 2)
samples = 600_000  # 100,000 steps of batch 6
runs = dict(
    baseline=dict(config="configs/baseline.py"),
    sizeaware=dict(config="configs/sizeaware.py"),
    fourscale=dict(config="configs/fourscale.py"),
    fourscale_sizeaware=dict(config="configs/fourscale_sizeaware.py"),
    fourscale_sizeaware_auxsmall=dict(
        config="configs/fourscale_sizeaware_auxsmall.py",
        note='"ABC" of the first experiment, with pedestrians among its small classes',
    ),
    patch2_stages234_sizeaware_batch2_as_run=dict(
        config="configs/patch2_stages234_sizeaware.py",
        samples=200_000,
        options={
            "base_lr": 4e-4,  # 2e-4 at batch 2, twice what the rule gives
            "param_scheduler.0.div_factor": 25,
            "param_scheduler.0.final_div_factor": 400,  # so that the end stays lr / 10000
            "train_dataloader.batch_sampler.mode": "stream",
        },
        note="the first experiment (15.64 %): as many steps as the baseline, so a third of its "
        "samples, twice the learning rate of the rule, a start at a 25th of it, streams only; "
        "strides 4, 8, 16",
    ),
    patch2_stages234_sizeaware_batch2=dict(
        config="configs/patch2_stages234_sizeaware.py",
        note="the same at equal samples, so three times the steps",
    ),
    patch2_stages234_sizeaware_batch6=dict(
        config="configs/patch2_stages234_sizeaware.py",
        options={"train_dataloader.batch_size": 6},
        note="the batch that did not fit the memory in the first experiment",
    ),
    patch2_sizeaware_batch2_third=dict(
        config="configs/patch2_sizeaware.py",
        samples=200_000,
        note="strides 2, 4, 8, a third of the samples",
    ),
    patch2_sizeaware_batch2=dict(config="configs/patch2_sizeaware.py", note="strides 2, 4, 8"),
    patch2_sizeaware_batch6=dict(config="configs/patch2_sizeaware_batch6.py"),
    patch2_batch6=dict(config="configs/patch2.py", options={"train_dataloader.batch_size": 6}),
    patch2_sizeaware_abc_batch6=dict(
        config="configs/patch2_sizeaware_abc.py",
        options={"train_dataloader.batch_size": 6},
        note="auxiliary balanced classifier as published (NeurIPS 2021), gamma .5",
    ),
)
