package demesne.placement.output_test

import data.demesne.fixtures
import data.demesne.placement.output

written(document) := [label, place] if {
	label := output.label with input as document
	place := output.placement with input as document
}

test_personal_stays_in_its_zone if written(fixtures.trainer_writes) == ["personal", ["de"]]

test_clean_into_personal_is_personal if written(fixtures.steward_writes) == ["personal", ["de"]]

test_clean_into_open if {
	written(object.union(fixtures.steward_writes, {"dataset": {"label": "none"}})) == ["none", null]
}

test_open_keeps_the_place_of_what_was_read if {
	document := object.union(fixtures.steward_writes, {"dataset": {"label": "none"}, "run": {"placement": ["de", "fr"]}})
	written(document) == ["none", ["de", "fr"]]
}

test_nothing_known_is_personal if {
	label := output.label with input as {}
	label == "personal"
}
