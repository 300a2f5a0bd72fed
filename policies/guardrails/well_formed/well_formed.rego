# METADATA
# title: The request document is whole
# description: |
#   Anything but the exact top-level fields of demesne.input/1, or a missing one deeper down, is refused
#   before any other rule could be undefined for the want of it.
# custom:
#   code: input.malformed
#   severity: critical
package demesne.guardrails.well_formed

deny contains reason if {
	not whole
	reason := {
		"rule": "guardrails/well_formed",
		"code": "input.malformed",
		"message": "The request document is not a demesne.input/1",
		"remedy": "this is a fault of the gateway: tell its operator",
	}
}

fields := {"schema", "now", "request", "principal", "purpose", "session", "dataset", "object", "zone", "run"}

whole if {
	input.schema == "demesne.input/1"
	{name | some name, _ in input} == fields
	count({name | some name, _ in input.request}) == 5
	count({name | some name, _ in input.request.ref}) == 5
	count({name | some name, _ in input.principal}) == 7
	count({name | some name, _ in input.zone}) == 5
	named(input.principal.id)
	named(input.principal.tenant)
	named(input.request.ref.tenant)
}

named(text) if {
	is_string(text)
	text != ""
}
