# METADATA
# title: AR4SI tiers and the claims of a trust vector
# description: |
#   The words of AR4SI (draft-ietf-rats-ar4si) and their order. A table of the data that names no tier for
#   something, or a word that is none, means contraindicated. Callers name these functions in full: regorus finds
#   no function through an import.
package demesne.attestation.appraisal.tiers

vector_claims := {
	"instance-identity",
	"configuration",
	"executables",
	"file-system",
	"hardware",
	"runtime-opaque",
	"storage-opaque",
	"sourced-data",
}

# Of a set of tiers; "none" says nothing and counts for nothing.
worst(tiers) := "contraindicated" if {
	"contraindicated" in tiers
} else := "warning" if {
	"warning" in tiers
} else := "affirming" if {
	"affirming" in tiers
} else := "none"

# What a table of data/attestation says of `name`.
listed(table, name) := object.get(table, name, "contraindicated") if {
	object.get(table, name, "contraindicated") in {"affirming", "warning", "contraindicated"}
} else := "contraindicated"
