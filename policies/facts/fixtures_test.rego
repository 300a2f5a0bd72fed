# METADATA
# title: Requests that are permitted
# description: Each test takes one of these and changes the one thing its rule is about.
package demesne.fixtures

# An analyst reads a Parquet file of the dataset, masked.
analyst_reads := {
	"schema": "demesne.input/1",
	"now": "2026-11-21T21:00:00.000Z",
	"request": {
		"id": "r1",
		"action": "read",
		"interface": "s3",
		"require_view": null,
		"ref": {
			"tenant": "main",
			"zone": "de",
			"dataset": "claims",
			"key": "part-0.parquet",
			"version": null,
		},
	},
	"principal": {
		"id": "a1",
		"name": "ana",
		"kind": "person",
		"roles": [
			"analyst",
		],
		"jurisdiction": "de",
		"tenant": "main",
		"purposes": [
			"analytics",
			"marketing",
		],
	},
	"purpose": "analytics",
	"session": null,
	"dataset": {
		"id": "d1",
		"name": "claims",
		"zone": "de",
		"jurisdiction": "de",
		"synthetic": true,
		"label": "personal",
		"contract": {
			"version": 1,
			"owner": "stewards",
			"purposes": [
				"analytics",
				"claims-risk-model",
			],
			"keys_personal": false,
			"columns": [
				{
					"name": "name",
					"type": "string",
					"label": "pii.name",
				},
				{
					"name": "email",
					"type": "string",
					"label": "pii.email",
				},
				{
					"name": "birth_date",
					"type": "date",
					"label": "pii.birth_date",
				},
				{
					"name": "postcode",
					"type": "string",
					"label": "pii.postcode",
				},
				{
					"name": "mystery",
					"type": "string",
					"label": "unknown",
				},
				{
					"name": "visits",
					"type": "int64",
					"label": "none",
				},
			],
		},
	},
	"object": {
		"label": "personal",
		"format": "parquet",
		"key_class": "raw",
		"placement": [
			"de",
		],
		"written_by": "s1",
		"run": "",
		"declassified": null,
	},
	"zone": {
		"name": "de",
		"jurisdiction": "de",
		"posture": "development",
		"state": "open",
		"strength": "self-reported",
	},
	"run": {
		"id": "n1",
		"label": "none",
		"placement": null,
		"inputs": 0,
	},
}

# An attested training job reads it raw.
trainer_reads := object.union(analyst_reads, {
	"principal": {"id": "t1", "name": "job", "kind": "workload", "roles": ["trainer"], "purposes": ["claims-risk-model"]},
	"purpose": "claims-risk-model",
	"session": {
		"id": "e1",
		"kind": "attested",
		"tier": "warning",
		"claims": {"kind": "sample", "hardware": false, "synthetic_only": true},
		"fresh": true,
		"scope": ["claims"],
		"run": "n2",
	},
})

# It does so in production, in a machine that was affirmed.
machine_reads := object.union(trainer_reads, {
	"zone": {"posture": "production"},
	"dataset": {"synthetic": false},
	"session": {"tier": "affirming", "claims": {"kind": "snp", "hardware": true, "synthetic_only": false, "debug": false}},
})

# With an identity only, and with sample evidence: never permitted.
identity_reads := object.union(machine_reads, {"session": {"kind": "identity"}})

sample_reads := object.union(machine_reads, {"session": {"claims": {"kind": "sample", "hardware": false, "synthetic_only": true, "debug": true}}})

# The same job writes a model into a dataset that takes personal data.
trainer_writes := object.union(trainer_reads, {
	"request": {"action": "write", "ref": {"dataset": "models", "key": "model.bin"}},
	"dataset": {"id": "d2", "name": "models", "contract": {"columns": []}},
	"object": null,
	"run": {"id": "n2", "label": "personal", "placement": ["de"], "inputs": 3},
})

# An analyst reads that model after its named declassification.
analyst_reads_declassified := object.union(analyst_reads, {
	"request": {"ref": {"dataset": "models", "key": "model.bin"}},
	"dataset": {"id": "d2", "name": "models", "contract": {"columns": []}},
	"object": {"label": "none", "format": "opaque", "written_by": "t1", "run": "n2", "declassified": {"name": "review 17"}},
})

# A steward writes a file.
steward_writes := object.union(analyst_reads, {
	"request": {"action": "write"},
	"principal": {"id": "s1", "name": "stella", "roles": ["steward"], "purposes": ["stewardship"]},
	"purpose": "stewardship",
	"object": null,
})

# A steward looks at the size and ETag of what it wrote.
steward_heads := object.union(steward_writes, {"request": {"action": "head"}, "object": analyst_reads.object})

# Anybody reads a dataset that holds nothing personal.
analyst_reads_open := object.union(analyst_reads, {
	"dataset": {"label": "none", "contract": null},
	"object": {"label": "none", "key_class": "view"},
})
