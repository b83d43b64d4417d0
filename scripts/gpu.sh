#!/bin/sh
# What only a GPU can show, in one go: the GPU tests, then the measurements, into results/benchmarks/.
# Needs requirements.txt installed; runs about a quarter of an hour. PYTHON=.venv/bin/python scripts/gpu.sh
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python}

# the captured step: losses of the eager one, fresh draws, resuming, no waiting
"$python" -m pytest -q tests/training/test_gpu.py tests/mixing/test_device.py

"$python" scripts/benchmark.py all --device cuda --folder results/benchmarks

# bf16 against fp32 on real images: held-out errors of 3 seeds after six epochs, for the reader to compare
"$python" train.py -m dataset=cifar100 dataset.root="${DATA:-data}" dataset.val_split=5000 model=pyramidnet110 \
    mixing=smoothmix_c recipe=short_cifar precision=fp32,bf16 seed=0,1,2 output=outputs/precision
"$python" scripts/summarize.py outputs/precision

if [ "$("$python" -c 'import torch; print(torch.cuda.device_count())')" -gt 1 ]; then
    "$python" -m torch.distributed.run --standalone --nproc_per_node=2 scripts/benchmark.py ranks \
        --model pyramidnet200 --batch 32 --device cuda --output results/benchmarks/ranks-gpu.json
fi
