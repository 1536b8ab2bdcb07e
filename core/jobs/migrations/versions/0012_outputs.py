"""Fingerprints of what was made."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "outputs",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("photo_id", sa.String(40), sa.ForeignKey("photos.id"), primary_key=True),
        sa.Column("variant", sa.Integer, primary_key=True),
    )
    op.create_index("ix_outputs_photo_id", "outputs", ["photo_id"])


def downgrade() -> None:
    op.drop_index("ix_outputs_photo_id", "outputs")
    op.drop_table("outputs")
