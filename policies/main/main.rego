# METADATA
# title: The decision
# description: The only entry point. Closed by default.
package demesne.main

default decision := {
	"allow": false,
	"view": "none",
	"purpose_class": "none",
	"plan": null,
	"label": "personal",
	"placement": null,
	"obligations": [],
	"reasons": [{"rule": "main", "code": "access.none", "message": "No rule permits this.", "remedy": "Ask the owner of the dataset."}],
	"allow_by": [],
}
