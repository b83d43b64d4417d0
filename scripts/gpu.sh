#!/bin/sh
# What only a GPU can show, in one go: the GPU tests, then the measurements, into results/benchmarks/. Every part runs,
# whatever the others do; the last lines say which failed, and the exit status is their number.
# Needs requirements.txt installed and CIFAR-100 in DATA (default: data).
#   PYTHON=.venv/bin/python DATA=/data sh scripts/gpu.sh
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python}
data=${DATA:-data}
failed=0
summary=""

part() { # name, command and its arguments
    name=$1
    shift
    echo "== $name"
    if "$@"; then
        summary="$summary
ok      $name"
    else
        summary="$summary
failed  $name (exit status $?)"
        failed=$((failed + 1))
    fi
}

# the captured step: losses of the eager one, fresh draws, resuming, no waiting
part tests "$python" -m pytest -q tests/training/test_gpu.py tests/mixing/test_device.py
part benchmarks "$python" scripts/benchmark.py all --device cuda --folder results/benchmarks
part data "$python" scripts/download.py cifar100 --root "$data"
# the GPU's own precision against fp32 on real images: held-out errors of 3 seeds after six epochs, for the reader to compare
part precision "$python" train.py -m dataset=cifar100 dataset.root="$data" dataset.val_split=5000 model=pyramidnet110 \
    mixing=smoothmix_c recipe=short_cifar precision=fp32,auto seed=0,1,2 output=outputs/precision
part summary "$python" scripts/summarize.py outputs/precision
if [ "$("$python" -c 'import torch; print(torch.cuda.device_count())')" -gt 1 ]; then
    part ranks "$python" -m torch.distributed.run --standalone --nproc_per_node=2 scripts/benchmark.py ranks \
        --model pyramidnet200 --batch 32 --device cuda --output results/benchmarks/ranks-gpu.json
    # the captured step of two GPUs: the weights of DistributedDataParallel
    part "graph of two ranks" "$python" -m pytest -q tests/training/test_distributed.py -k distributed_data_parallel
fi
echo "$summary"
exit "$failed"
