import torch

from ctlib.units import MU_WATER, hu_from_mu, mu_from_hu


def test_hounsfield_scale_has_its_fixed_points_and_inverts():
    mu = torch.tensor([0.0, 2.259e-5, MU_WATER, 2 * MU_WATER], dtype=torch.float64)
    hu = hu_from_mu(mu)
    torch.testing.assert_close(hu[[0, 2, 3]], torch.tensor([-1000.0, 0, 1000], dtype=torch.float64))
    assert -1000 < hu[1] < -998
    torch.testing.assert_close(mu_from_hu(hu), mu)
    assert hu_from_mu(torch.tensor(0.4), mu_water=0.2) == 1000
