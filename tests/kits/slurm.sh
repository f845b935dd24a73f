#!/bin/bash
# The commands of Slurm, for tests: jobs are processes of this host. Links to this file are named sbatch, srun and so on.
# $FAKE_SLURM is a directory with the script and the state of each job. The file `reject` in it is what sbatch says, and
# with the file `hold` jobs stay in the queue.
set -u
cd "$FAKE_SLURM"

# processes JOB: print the ids of all processes of a job, wherever they are in the tree, as a cgroup knows them.
processes() {
    grep -lzx "FAKE_JOB=$PWD/$1" /proc/[0-9]*/environ 2>/dev/null | tr -dc '0-9\n'
}

# run JOB SCRIPT: run a job, then note how it has ended.
run() {
    FAKE_JOB=$PWD/$1 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 \
        setsid --wait bash "$2" </dev/null &>/dev/null
    local code=$?
    if [[ $(<"$1.state") == RUNNING ]]; then
        if ((code)); then echo FAILED; else echo COMPLETED; fi >"$1.state"
    fi
}

case ${0##*/} in
sbatch)
    if [[ -e reject ]]; then
        echo "sbatch: error: $(<reject)" >&2
        exit 1
    fi
    exec {lock}>lock && flock $lock
    job=$(($(cat last 2>/dev/null || echo 100) + 1))
    echo $job >last
    cp "$1" $job.sh
    last=$(sed -nE "s/^#SBATCH --array='?0-([0-9]+).*/\1/p" "$1")
    export SLURM_JOB_ID=$job
    for task in $(seq 0 "${last:-0}"); do
        name=$job
        if [[ -n $last ]]; then
            name=${job}_$task
            export SLURM_ARRAY_JOB_ID=$job SLURM_ARRAY_TASK_ID=$task
        fi
        if [[ -e hold ]]; then
            echo PENDING >$name.state
            continue
        fi
        echo RUNNING >$name.state
        run $name "$PWD/$job.sh" {lock}>&- </dev/null &>/dev/null &
    done
    echo "Submitted batch job $job"
    ;;
srun)
    name=${FAKE_JOB##*/}
    while [[ $1 == --* ]]; do
        case $1 in
        --output | --error)
            file=${2//%j/$name} file=${file//%A_%a/$name} file=${file//%t/0}
            if [[ $1 == --output ]]; then exec >>"$file"; else exec 2>>"$file"; fi
            shift
            ;;
        esac
        shift
    done
    exec "$@"
    ;;
sacct) cat "${*: -1}.state" ;;
squeue)
    for state in *.state; do
        if [[ $(<"$state") == @(PENDING|RUNNING) ]]; then echo "${state%.state} $(<"$state")"; fi
    done
    ;;
scancel)
    if [[ -n ${FAKE_JOB-} ]]; then exec env -u FAKE_JOB "$0" "$@"; fi # in a job, which it may end
    signal=TERM job=
    while (($#)); do
        case $1 in
        --signal) signal=$2 && shift ;;
        *) job=${1##*/} ;;
        esac
        shift
    done
    echo "$job $signal" >>cancelled
    if [[ $(<"$job.state") == PENDING ]]; then
        echo CANCELLED >"$job.state"
    elif [[ $(<"$job.state") == RUNNING ]]; then
        case $signal in KILL) echo NODE_FAIL ;; *) echo PREEMPTED ;; esac >"$job.state"
    fi
    found=$(processes "$job")
    # Processes may have ended since they were found.
    if [[ -n $found && $signal == KILL ]]; then kill -STOP $found 2>/dev/null; fi # all at once, as with their host
    if [[ -n $found ]]; then kill -"$signal" $found 2>/dev/null; fi
    exit 0
    ;;
sinfo) printf 'cpu\ngpu\n' ;;
esac
