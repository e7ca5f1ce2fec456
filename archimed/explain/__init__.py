"""Why a network answered as it did: class activation maps, whether they are faithful, and heat maps in the patient."""
