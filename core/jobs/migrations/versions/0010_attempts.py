"""Which run of its job has made a photo's objects. Those of older photos are named by the photo alone."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("photos", sa.Column("attempt", sa.Integer))


def downgrade() -> None:
    op.drop_column("photos", "attempt")
