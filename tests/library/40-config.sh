#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Config files as people use them: from a pipe, with options after them, checked with the schema.
# tests/unit/test_config.c has the options one by one.
# shellcheck source-path=SCRIPTDIR source=../guest/lib.sh
. "$(dirname "$0")/../guest/lib.sh"

if "$vmm" config 2>&1 | grep -q 'without libjansson'; then
	skip 'config files' 'this build has no jansson'
	finish
fi
# Commas are part of the options.
# shellcheck disable=SC2054
options=(--kernel k --disk a.img,readonly --net none --disk "b,,c.img,bus=scsi" --memory 1G,shared
	--serial pty,link=/x --port "p=unix:/y" --rng max-bytes=1K,period=5 --timeout 2.5 --log json
	--device virtio-scsi,id=s,queues=2)

"$vmm" config "${options[@]}" >"$tmp/vm.json"
if diff "$tmp/vm.json" <("$vmm" config --config <("$vmm" config "${options[@]}")) >"$messages"; then
	ok 'config: read from a pipe and printed, it is the same'
else
	not_ok 'config: read from a pipe and printed, it is the same' 'it differs' "$messages"
fi

if ! command -v python3 >/dev/null; then
	skip 'config: the schema' 'no python3'
elif ! python3 -c 'import json, sys; json.load(sys.stdin)' <"$build/config.schema.json" 2>"$messages"; then
	not_ok 'config: the schema is JSON' 'it is not' "$messages"
elif ! python3 -c 'import jsonschema; jsonschema.Draft202012Validator' 2>/dev/null; then
	ok 'config: the schema is JSON'
	skip 'config: the schema accepts what is printed, and refuses the rest' 'no python3-jsonschema'
else
	ok 'config: the schema is JSON'
	if python3 - "$build/config.schema.json" "$tmp/vm.json" 2>"$messages" <<'END'; then
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
checker = Draft202012Validator(schema)
checker.validate(json.load(open(sys.argv[2])))
for bad in ('{"kernal": "x"}', '{"disk": {"path": "a"}}', '{"disk": [{"pth": "a"}]}', '{"cpus": 0}',
            '{"disk": [{"path": "a", "queues": true}]}', '{"device": [{"class": "no-such"}]}',
            '{"device": [{"class": "debug-exit", "path": "a"}]}', '{"memory": {"size": "much"}}',
            '{"net": [{"hostfwd": ["x"]}]}', '{"on-reboot": "sleep"}', '{"timeout": 0}', '7'):
    assert not checker.is_valid(json.loads(bad)), bad
END
		ok 'config: the schema accepts what is printed, and refuses the rest'
	else
		not_ok 'config: the schema accepts what is printed, and refuses the rest' \
			'it does not' "$messages"
	fi
fi

if { exec 9<>/dev/kvm; } 2>/dev/null; then
	exec 9>&-
	run_vmm 60 run --config <("$vmm" config --kernel "$build/guest/hello.elf" --defaults off --cpus 2) \
		--cpus 1 --memory 32M </dev/null
	if [ "$status" = 0 ] && grep -aq 'hello from a PVH guest' "$console"; then
		ok 'config: a guest boots from it'
	else
		not_ok 'config: a guest boots from it' "exit status $status" "$console" "$messages"
	fi
else
	skip 'config: a guest boots from it' '/dev/kvm cannot be opened'
fi
finish
