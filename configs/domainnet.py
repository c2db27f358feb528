"""DomainNet, 40 classes: sketches, tested also on three other domains.

  python -m daft_jax.data prepare domainnet --data_dir=/data
  python -m daft_jax.main --config=configs/domainnet.py \
    --workdir=/tmp/domainnet --config.data.dir=/data \
    --config.weights_path=WEIGHTS

ID: 5,537 sketches to train on (a tenth of them to choose by) and 2,399 to test
on. OOD: real (6,943), painting (2,909) and clipart (1,616), and their union;
the lists are those of SENTRY. Which of the two the paper averages by is not
known: the report has both.

Images are brought to 256 x 256 pixels (bicubic), in training cut to 224 and
mirrored every other time; tests are brought to 224 x 224. 50 epochs, batches
of 64 (LP-FT: 32).

WEIGHTS is RN50.pt of CLIP. Others of the paper:
  --config.backbone=resnet50 --config.weights=resnet50.mocov2_800ep
  --config.backbone=resnet50 --config.weights=resnet50.swav_800ep

SGD with momentum 0.9, no weight decay, a cosine to 0, three seeds. The authors'
search has two stages: the rate of the backbone with a head rate of 1, then the
head rate at that one, which is

  --config.methods=daft --config.lrs=LR --config.head_lrs=10+3+0.3+0.1

Their grids for it: CLIP 3e-5 to 3e-7, MoCo v2 1e-3 to 3e-6, SwAV 0.3 to 0.003.
For fine-tuning 0.3 to 1e-4, for LP-FT 1e-4 to 3e-7 (SwAV: 0.01 to 3e-6), three
values a decade. Their epochs and rates are chosen by the ID test set:
--config.selection=paper. Here a tenth of each class of train is split off to
choose by. Their BatchNorm statistics are --config.bn_estimator=batch_mean.

No accuracy of the DAFT paper is stated here, as none could be verified.

LP-FT (ICLR 2022, tables 1 and 2, three seeds) reports for CLIP, ID / OOD:
FT 84.5 / 55.5, LP 89.4 / 79.7, LP-FT 91.6 / 80.7.
"""

from configs import common


def get_config(arg=''):
  config = common.get_config()
  config.suite = 'domainnet'
  config.backbone = 'clip_resnet50'
  config.weights = 'clip_resnet50.openai'
  config.methods = ('lp', 'ft', 'lp_ft', 'daft')
  config.seeds = (0, 1, 2)
  config.epochs = 50
  config.batch_size = 64
  # The first, coarse stage of the search.
  config.lrs = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
  config.head_lrs = (1.0,)
  return common.update(config, arg)
