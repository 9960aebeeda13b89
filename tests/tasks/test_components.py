import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components as scipy_components

from tasks.components import connected_components


@given(st.integers(1, 60), st.data())
def test_components_agree_with_scipy(count: int, data: st.DataObject) -> None:
    node = st.integers(0, count - 1)
    links = np.array(data.draw(st.lists(st.tuples(node, node), max_size=80)), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    _, expected = scipy_components(graph, directed=False)

    found = connected_components(count, links)

    assert np.array_equal(found[:, None] == found[None, :], expected[:, None] == expected[None, :])
    assert all(found[node] == min(np.flatnonzero(found == found[node])) for node in range(count))


def test_a_long_chain_in_any_order_is_one_component() -> None:
    chain = np.stack([np.arange(4999), np.arange(1, 5000)], axis=1)
    shuffled = np.random.default_rng(0).permutation(chain)[:, ::-1]
    assert not connected_components(5000, shuffled).any()
