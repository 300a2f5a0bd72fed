# METADATA
# title: What runs is what somebody expected to run
# description: |
#   A genuine platform runs anybody's software. Executables are affirmed by a reference value of the same kind
#   whose measurement and whose every match are equal. data/attestation names per kind what an entry has to
#   match besides, where the measurement alone is that of firmware which strangers run as well.
# custom:
#   code: attestation.measurement-unknown
#   severity: critical
package demesne.attestation.appraisal.reference

import data.data.attestation
import data.demesne.attestation.appraisal.submodules

affirms contains [name, "executables"] if {
	some name, _ in submodules.proven
	count(names(name)) > 0
}

# Name of the submodule to the name of the reference value: the first by name where several hold.
matched[name] := listed[0] if {
	some name, _ in submodules.proven
	listed := [entry | some entry in names(name)]
	count(listed) > 0
}

names(submod) := {pair[1] | some pair in holding; pair[0] == submod}

holding contains [pair[0], pair[1]] if {
	some pair in agreeing
	whole(pair[2], submodules.proven[pair[0]].kind)
}

# Submodule, name and entry where all that the entry says holds.
agreeing contains [name, entry.name, entry] if {
	some name, claims in submodules.proven
	some entry in usable
	entry.kind == claims.kind
	same_tee(entry, claims)
	measured(entry, claims)
	every path, values in object.get(entry, "match", {}) {
		admitted(stated[name], path, values)
	}
	every field, values in object.get(entry, "platform", {}) {
		admitted(stated[name], concat(".", ["platform", field]), values)
	}
}

# An entry without name or kind, or that names nothing to compare, is none.
usable contains entry if {
	is_array(input.reference)
	some entry in input.reference
	named(entry)
	is_object(object.get(entry, "match", {}))
	is_object(object.get(entry, "platform", {}))
}

named(entry) if {
	is_object(entry)
	is_string(entry.name)
	entry.name != ""
	is_string(entry.kind)
	entry.kind != ""
}

same_tee(entry, claims) if object.get(entry, "tee", claims.tee) == claims.tee

measured(entry, claims) if {
	is_array(entry.measurement)
	is_string(claims.measurement)
	claims.measurement != ""
	claims.measurement in entry.measurement
}

measured(entry, _) if {
	not "measurement" in object.keys(entry)
	count(object.get(entry, "match", {})) > 0
}

stated[name] := values if {
	some name, claims in submodules.proven
	listed := {path: value |
		some field, value in submodules.platform[name]
		path := concat(".", ["platform", field])
	}
	values := object.union(listed, {"measurement": claims.measurement, "tee": claims.tee})
}

admitted(values, path, allowed) if {
	is_array(allowed)
	not is_array(values[path])
	values[path] in allowed
}

# Of a list, every one.
admitted(values, path, allowed) if {
	is_array(allowed)
	is_array(values[path])
	count(values[path]) > 0
	every value in values[path] {
		value in allowed
	}
}

# A machine is known by its measurement, devices and TPMs by what they run; and one of each group of paths that
# data/attestation has for the kind is in the entry's match.
whole(entry, kind) if {
	measures(entry, kind)
	is_array(attestation.identifying[kind])
	every group in attestation.identifying[kind] {
		some path, _ in object.get(entry, "match", {})
		path in group
	}
}

measures(entry, _) if "measurement" in object.keys(entry)

# Or by whose release the measurement is: the verifier held the endorser's signature, feed and security version. What
# a vendor releases runs at strangers', so data/attestation asks for what tells a workload from theirs as well.
measures(entry, kind) if {
	is_array(attestation.endorsed[kind])
	count(attestation.endorsed[kind]) > 0
	every group in attestation.endorsed[kind] {
		some path, _ in object.get(entry, "match", {})
		path in group
	}
}

measures(_, kind) if kind in {"nvgpu", "nras", "tpm"}

doubts contains doubt(name, "attestation.no-reference", "No reference value of this kind is in force", "have the reference values of the workload imported") if {
	some name, claims in submodules.proven
	not affirmed(name)
	not expected(claims)
}

doubts contains doubt(name, "attestation.measurement-unknown", "What it runs is none of the reference values", "run the approved image, or have its reference values imported") if {
	some name, claims in submodules.proven
	not affirmed(name)
	expected(claims)
	not name in incomplete
}

doubts contains doubt(name, "attestation.reference-incomplete", "The reference value says too little of this kind to tell a workload from others", "add to its match what data/attestation lists for the kind") if {
	some name in incomplete
	not affirmed(name)
}

affirmed(name) if [name, "executables"] in affirms

expected(claims) if {
	some entry in usable
	entry.kind == claims.kind
}

incomplete contains pair[0] if some pair in agreeing

doubt(name, code, message, remedy) := {
	"submod": name,
	"claim": "executables",
	"tier": "warning",
	"rule": "attestation/appraisal/reference",
	"code": code,
	"message": message,
	"remedy": remedy,
}
