# METADATA
# title: What the request is
# description: |
#   Plain statements about the input, each positive. Rules negate them, so that a field that is
#   missing makes a statement undefined and the rule that needs it refuse.
package demesne.facts

import data.data.purposes

action := input.request.action

reading if action in {"read", "head", "list"}

writing if action in {"write", "complete"}

# What touches the content or the names of objects.
touches_objects if reading

touches_objects if writing

touches_objects if action in {"delete", "declassify"}

# What touches no object's content: who may know that a dataset exists is the roles' table alone.
looks_only if action in {
	"list-datasets", "head-dataset", "administer", "keys", "approve-keys", "revoke", "lineage", "ledger",
}

attested if input.session.kind == "attested"

steward if "steward" in input.principal.roles

default class := "none"

class := purposes.purposes[input.purpose].class

# What a purpose class sees of personal data: raw, masked, writer, or nothing.
default sees := "nothing"

sees := purposes.classes[class].sees

in_scope if input.dataset.name in input.session.scope

in_contract if input.purpose in input.dataset.contract.purposes

# Where the named dataset lies, even when only its zone is known here.
default target_zone := "unknown"

target_zone := input.dataset.zone

target_zone := input.request.ref.zone if input.dataset == null

here if target_zone == input.zone.name

# Nothing personal in it: the whole dataset, or this object after a named declassification.
open if {
	input.dataset.label == "none"
	nothing_named
}

open if {
	input.dataset.label == "none"
	input.object.label == "none"
}

open if {
	input.object.label == "none"
	input.object.declassified.name != ""
}

nothing_named if input.object == null

author if input.object.written_by == input.principal.id
