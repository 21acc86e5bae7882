#!/bin/sh
# Starts spade-stream in a container. The cameras' passwords come from a file that is mounted as a secret, in the form of
# NAME=value lines ('spade-stream init' writes such a file): so they stand in no image and in no 'docker inspect'.
set -eu
secrets=${SPADE_SECRETS:-/run/secrets/cameras}
if [ -e "$secrets" ]; then
  if [ ! -r "$secrets" ]; then
    echo "spade-stream: $secrets cannot be read by user $(id -u): chown it to that user, with mode 0400" >&2
    exit 2
  fi
  set -a
  # shellcheck disable=SC1090
  . "$secrets"
  set +a
fi
exec spade-stream "$@"
