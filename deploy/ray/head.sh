#!/bin/sh
# Ray's head and 'spade-stream run --cluster' in one container: the run has to be a node of Ray. KubeRay hands over how Ray
# is to be started (KUBERAY_GEN_RAY_START_CMD, with --block). A run that dies is started again and finds the cluster as it
# was; Ray that dies ends the container. SIGTERM drains the run first, then ends Ray.
set -eu
config=${1:?usage: head.sh CONFIG}
ulimit -n 65536 2>/dev/null || true
run=

sh -c "$KUBERAY_GEN_RAY_START_CMD" &
ray=$!

drain() {
  trap '' TERM INT
  if [ -n "$run" ]; then
    kill -TERM "$run" 2>/dev/null || true
    wait "$run" || true
  fi
  ray stop >/dev/null 2>&1 || true
  kill -TERM "$ray" 2>/dev/null || true
  wait "$ray" || true
  exit 0
}
trap drain TERM INT

until ray health-check --address 127.0.0.1:6379 >/dev/null 2>&1; do
  kill -0 "$ray" 2>/dev/null || exit 1
  sleep "${SPADE_PAUSE:-1}" &
  wait $!
done

while kill -0 "$ray" 2>/dev/null; do
  spade-stream-entrypoint run "$config" --cluster auto &
  run=$!
  code=0
  wait "$run" || code=$?
  run=
  # A wrong configuration does not get better by itself.
  if [ "$code" -eq 2 ]; then exit 2; fi
  sleep "${SPADE_PAUSE:-5}" &
  wait $!
done
exit 1
