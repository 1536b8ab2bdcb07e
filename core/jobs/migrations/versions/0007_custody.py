"""Who can restore a photo. All photos so far need keyring and password."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("photos", sa.Column("custody", sa.String(8), nullable=False, server_default="split"))


def downgrade() -> None:
    op.drop_column("photos", "custody")
