// What checks the OpenAPI document has a module of its own, so that none of its
// dependencies reach the product's go.mod.
module routewatch/ci/openapi

go 1.26.0

tool github.com/getkin/kin-openapi/cmd/validate

require (
	github.com/getkin/kin-openapi v0.153.0 // indirect
	github.com/go-openapi/jsonpointer v0.22.5 // indirect
	github.com/go-openapi/swag/jsonname v0.25.5 // indirect
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // indirect
	go.yaml.in/yaml/v4 v4.0.0 // indirect
	golang.org/x/text v0.14.0 // indirect
)
