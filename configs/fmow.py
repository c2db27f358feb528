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

SGD with momentum 0.9, no weight decay, a cosine to 0, three seeds. The authors'
search has two stages: the rate of the backbone with a head rate of 1, then the
head rate at that one, which is

  --config.methods=daft --config.lrs=LR --config.head_lrs=10+3+0.3+0.1

Their grids for it: MoCo-TP 0.01 to 1e-4, CLIP 3e-4 to 3e-6, SwAV 0.3 to 0.003.
For fine-tuning 0.3 to 1e-4, for LP-FT 1e-4 to 3e-7 (SwAV: 0.01 to 3e-6), three
values a decade. Their epochs and rates are chosen by the ID test set:
--config.selection=paper. Here a tenth of each class of train is split off to
choose by. Their BatchNorm statistics are --config.bn_estimator=batch_mean.

No accuracy of the DAFT paper is stated here, as none could be verified.

LP-FT (ICLR 2022, tables 1 and 2, three seeds) reports for MoCo-TP, ID / OOD:
FT 56.5 / 32.0, LP 49.1 / 36.6, LP-FT 51.8 / 36.8.
"""

from configs import common


def get_config(arg=''):
  config = common.get_config()
  config.suite = 'fmow'
  config.backbone = 'resnet50'
  config.weights = 'resnet50.mocotp_fmow'
  config.methods = ('lp', 'ft', 'lp_ft', 'daft')
  config.seeds = (0, 1, 2)
  config.epochs = 50
  config.batch_size = 64
  # The first, coarse stage of the search.
  config.lrs = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
  config.head_lrs = (1.0,)
  return common.update(config, arg)
