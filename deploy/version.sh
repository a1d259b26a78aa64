#!/bin/sh
# Gives the next version to the code, to what repeats it, and to the changelog's section.
# usage: sh deploy/version.sh 1.2.3
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in
    [0-9]*.[0-9]*.[0-9]*) ;;
    *) echo "usage: make version VERSION=1.2.3" >&2; exit 2 ;;
esac
sed -i "s/^__version__ = .*/__version__ = \"$1\"/" proxy/__init__.py
sed -i "s/^version: [^ ]*/version: $1/; s/^appVersion: .*/appVersion: $1/" deploy/helm/weir/Chart.yaml
sed -i "s/^    newTag: .*/    newTag: $1/" deploy/kubernetes/gateway/kustomization.yaml deploy/kubernetes/sidecar/kustomization.yaml
sed -i "s/^## Unreleased\$/## Unreleased\n\n## $1 ($(date -u +%F))/" CHANGELOG.md
