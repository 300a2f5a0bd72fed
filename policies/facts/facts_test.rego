package demesne.facts_test

import data.demesne.facts
import data.demesne.fixtures

test_class_of_a_known_purpose if {
	class := facts.class with input as fixtures.trainer_reads
	class == "training"
}

test_class_of_an_unknown_purpose if {
	class := facts.class with input as object.union(fixtures.analyst_reads, {"purpose": "curiosity"})
	sees := facts.sees with input as object.union(fixtures.analyst_reads, {"purpose": "curiosity"})
	[class, sees] == ["none", "nothing"]
}

test_zone_of_a_known_dataset if {
	zone := facts.target_zone with input as object.union(fixtures.analyst_reads, {"dataset": {"zone": "fr"}})
	zone == "fr"
}

test_zone_of_an_unknown_dataset if {
	zone := facts.target_zone with input as object.union(fixtures.analyst_reads, {"dataset": null})
	zone == "de"
}

test_every_class_of_a_purpose_is_known if {
	every purpose in data.data.purposes.purposes {
		data.data.purposes.classes[purpose.class]
	}
}
