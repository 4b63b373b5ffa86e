# Source this in every shell and batch job that uses these campaigns.
# Rendered from mgflows.yaml by `mgflows init`; edit that and run it again.
export MGFLOWS_CONFIG=/path/to/launcher_configs/pbs/mgflows.yaml
export FW_CONFIG_FILE=/path/to/launcher_configs/pbs/FW_config.yaml
export JOBFLOW_CONFIG_FILE=/path/to/launcher_configs/pbs/jobflow.yaml
export ATOMATE2_CONFIG_FILE=/path/to/launcher_configs/pbs/atomate2.yaml
export OMP_NUM_THREADS=1
export OPENBLAS_NUM_THREADS=1
export MKL_NUM_THREADS=1
export NUMBA_NUM_THREADS=1
export PATH=/path/to/venv/bin:$PATH
