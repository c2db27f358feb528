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

What all suites of the paper share, and how its search goes, says `paper` in
configs/common.py. Grids of the authors for daft with a head rate of 1, in steps
of 1 and 3: CLIP 3e-5 to 3e-7, MoCo v2 1e-3 to 3e-6, SwAV 0.3 to 0.003.

No accuracy of the DAFT paper is stated here, as none could be verified.

LP-FT (ICLR 2022, tables 1 and 2, three seeds) reports for CLIP, ID / OOD:
FT 84.5 / 55.5, LP 89.4 / 79.7, LP-FT 91.6 / 80.7.
"""

from configs import common


def get_config(arg=''):
  config = common.paper(
    'domainnet', 'clip_resnet50', 'clip_resnet50.openai', epochs=50
  )
  return common.update(config, arg)
