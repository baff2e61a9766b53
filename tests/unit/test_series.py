"""Points put together into blocks."""

from __future__ import annotations

from vpsmon.trends.series import Point, make_blocks


def test_blocks_are_as_many_as_were_asked_for_and_the_last_point_is_in_the_last_one() -> None:
    points = tuple(Point(hour / 10, hour - 1.0, float(hour), hour + 1.0) for hour in range(241))
    blocks = make_blocks(points, 24)
    assert len(blocks) == 24
    assert (blocks[0].low, blocks[0].middle, blocks[-1].high) == (-1.0, 4.5, 241.0)
    assert blocks[-1].middle == 235.0


def test_points_of_one_time_are_one_block() -> None:
    assert len(make_blocks((Point(5.0, 1.0, 2.0, 3.0),) * 4, 24)) == 1
