//go:build linux

package main

func exporterProgram(o options) (string, error) { return o.exporter, nil }
