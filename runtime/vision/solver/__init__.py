"""From landmarks to a pose: one least-squares problem per picture, solved with closed-form derivatives."""
