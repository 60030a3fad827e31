#!/bin/sh
# Finishes the root folder of packages that were unpacked, but not installed: what their scripts would have made, and nothing to install with.
set -eu
cd "$1"
cat usr/share/ca-certificates/mozilla/*.crt >etc/ssl/certs/ca-certificates.crt
printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
rm -rf usr/share/ca-certificates usr/share/debconf usr/share/doc usr/share/man usr/share/locale usr/share/perl5 usr/share/info \
  usr/share/dpkg usr/share/lintian usr/share/bug usr/lib/dpkg usr/share/common-licenses var/lib/dpkg var/lib/apt var/log/* \
  var/cache/* usr/lib/python3*/pydoc_data usr/lib/python3*/lib2to3 usr/lib/*-linux-gnu/gconv
find usr/bin usr/sbin ! -type d ! -name sh ! -name dash ! -name 'python3*' -delete
find usr/lib/python3* -type d -name __pycache__ -prune -exec rm -rf {} +
python3 -m compileall -q usr/lib/python3*
