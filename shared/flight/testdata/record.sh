#!/bin/sh
# Records what node-1 of the lab's demo judges, and keeps it as flap.recording.
# Run it as root from the root of the repository, after `make build`.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp bin/routewatch bin/routewatch-lab "$dir"
# The lab starts the exporter that lies beside it, with --node-name NAME first.
cat > "$dir/routewatch-exporter" <<WRAPPER
#!/bin/sh
exec "$PWD/bin/routewatch-exporter" "\$@" --record "$dir/\$2.recording"
WRAPPER
chmod +x "$dir/routewatch-exporter"
"$dir/routewatch-lab" demo < /dev/null
cp "$dir/node-1.recording" shared/flight/testdata/flap.recording
