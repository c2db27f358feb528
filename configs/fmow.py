"""FMoW of WILDS: satellite images of the Americas, tested on Europe and Africa.

  python -m daft_jax.data prepare fmow --data_dir=/data
  python -m daft_jax.main --config=configs/fmow.py \
    --workdir=/tmp/fmow --config.data.dir=/data \
    --config.weights_path=WEIGHTS

62 kinds of use of land. ID: `train` of region Americas (a tenth of it to choose
by), tested on `id_val` there. OOD: `id_val` of Europe and of Africa, their
union and the worse of the two; --config.eval_only adds the same of 2013 to 2015
(`val`). `id_val` is what LP-FT's numbers are of. Which the paper averages by is
not known.

Images have 224 pixels and are mirrored every other time in training. 50 epochs,
batches of 64.

WEIGHTS is mocotp_checkpoint_0200.pth.tar, of satellite images. Others:
  --config.backbone=clip_resnet50 --config.weights=clip_resnet50.openai
  --config.weights=resnet50.swav_800ep

What all suites of the paper share, and how its search goes, says `paper` in
configs/common.py. Grids of the authors for daft with a head rate of 1, in steps
of 1 and 3: MoCo-TP 0.01 to 1e-4, CLIP 3e-4 to 3e-6, SwAV 0.3 to 0.003.

No accuracy of the DAFT paper is stated here, as none could be verified.

LP-FT (ICLR 2022, tables 1 and 2, three seeds) reports for MoCo-TP, ID / OOD:
FT 56.5 / 32.0, LP 49.1 / 36.6, LP-FT 51.8 / 36.8.
"""

from configs import common


def get_config(arg=''):
  config = common.paper('fmow', 'resnet50', 'resnet50.mocotp_fmow', epochs=50)
  return common.update(config, arg)
