//! Products with plain numbers: rows against rows, and sums of rows.
//!
//! ```text
//! rows:     out[r][o] = Σ_k x[r][k] · w[o][k]     16 partial sums, k mod 16, then a tree
//! columns:  out[r][c] (+)= Σ_d x[r][d] · w[d][c]  d in order
//! ```
//! The order in which one output is summed depends on nothing but its length: tiles of several rows and outputs only
//! share loads. So a token's results have the same bits whatever else is in the batch.
use super::lanes::{Element, LANES, Lanes, by_level};
use super::view::{Out, Rows};

/// Weights for a kernel: `rows` rows of `cols` elements, `stride` elements apart.
#[derive(Clone, Copy)]
pub struct Block<'a, E> {
    data: &'a [E],
    pub rows: usize,
    pub cols: usize,
    stride: usize,
}

impl<'a, E> Block<'a, E> {
    /// Panics where the last row would lie outside `data`.
    pub fn new(data: &'a [E], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + cols <= data.len(), "weights outside their slice");
        Self { data, rows, cols, stride }
    }

    /// Rows `first..first + rows`.
    pub fn part(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows);
        Self { data: &self.data[first * self.stride..], rows, ..self }
    }

    /// The first `cols` columns.
    pub fn narrow(self, cols: usize) -> Self {
        assert!(cols <= self.cols);
        Self { cols, ..self }
    }

    fn row(&self, i: usize) -> *const E {
        debug_assert!(i < self.rows);
        self.data[i * self.stride..].as_ptr()
    }
}

by_level! {
    /// `out[r][o] = x[r] · w[o]` for all rows of `x` and of `w`. `out` must have a row for each of `x`'s and a column
    /// for each of `w`'s; nobody else may write those columns meanwhile.
    pub fn rows<E: Element>(x: Rows<'_>, w: Block<'_, E>, out: Out<'_>) = rows_kernel
}

by_level! {
    /// `out[r] += Σ_d x[r][d] · w[d]`: `x` has a column for each row of `w`. `out` as for [`rows`].
    pub fn columns<E: Element>(x: Rows<'_>, w: Block<'_, E>, out: Out<'_>) = columns_kernel
}

#[inline(always)]
unsafe fn rows_kernel<L: Lanes, E: Element>(x: Rows<'_>, w: Block<'_, E>, out: Out<'_>) {
    assert!(x.cols == w.cols && out.rows >= x.n && out.cols >= w.rows, "a product of unequal sizes");
    let quads = x.n / 4 * 4;
    // SAFETY: the sizes were checked above; tiles stay inside the rows of `x` and of `w`.
    unsafe {
        (0..quads).step_by(4).for_each(|r| outputs::<L, E, 4, 4>(x, w, out, r));
        (quads..x.n).for_each(|r| outputs::<L, E, 1, 8>(x, w, out, r));
    }
}

/// `R` rows from `r` against all rows of `w`, `O` at a time.
#[inline(always)]
unsafe fn outputs<L: Lanes, E: Element, const R: usize, const O: usize>(x: Rows<'_>, w: Block<'_, E>, out: Out<'_>, r: usize) {
    let whole = w.rows / O * O;
    // SAFETY: rows r..r + R and outputs o..o + O exist (caller, and the bounds here).
    unsafe {
        (0..whole).step_by(O).for_each(|o| tile::<L, E, R, O>(x, w, out, r, o));
        (whole..w.rows).for_each(|o| tile::<L, E, R, 1>(x, w, out, r, o));
    }
}

#[inline(always)]
unsafe fn tile<L: Lanes, E: Element, const R: usize, const O: usize>(x: Rows<'_>, w: Block<'_, E>, out: Out<'_>, r: usize, o: usize) {
    let xs: [*const f32; R] = std::array::from_fn(|i| x.row(r + i));
    let ws: [*const E; O] = std::array::from_fn(|j| w.row(o + j));
    let whole = x.cols / LANES * LANES;
    // SAFETY: each row has `cols` elements; the rest of a row is copied into a whole vector first.
    unsafe {
        let mut sums = [[L::splat(0.0); O]; R];
        for k in (0..whole).step_by(LANES) {
            step(&mut sums, &xs.map(|p| p.add(k)), &ws.map(|p| p.add(k)));
        }
        if whole < x.cols {
            let xt = xs.map(|p| padded(p.add(whole), x.cols - whole));
            let wt = ws.map(|p| padded(p.add(whole), x.cols - whole));
            step(&mut sums, &std::array::from_fn(|i| xt[i].as_ptr()), &std::array::from_fn(|j| wt[j].as_ptr()));
        }
        for (i, row) in sums.iter().enumerate() {
            row.iter().enumerate().for_each(|(j, s)| out.set(r + i, o + j, s.sum()));
        }
    }
}

#[inline(always)]
unsafe fn step<L: Lanes, E: Element, const R: usize, const O: usize>(sums: &mut [[L; O]; R], xs: &[*const f32; R], ws: &[*const E; O]) {
    // SAFETY: the caller's pointers hold sixteen elements each.
    unsafe {
        let w: [L; O] = std::array::from_fn(|j| E::lanes(ws[j]));
        for (row, x) in sums.iter_mut().zip(xs) {
            let x = L::load(*x);
            row.iter_mut().zip(w).for_each(|(s, w)| *s = s.fma(x, w));
        }
    }
}

#[inline(always)]
unsafe fn padded<E: Element>(p: *const E, n: usize) -> [E; LANES] {
    let mut out = [E::ZERO; LANES];
    // SAFETY: the caller's pointer holds `n` < 16 elements.
    (0..n).for_each(|i| out[i] = unsafe { *p.add(i) });
    out
}

#[inline(always)]
unsafe fn columns_kernel<L: Lanes, E: Element>(x: Rows<'_>, w: Block<'_, E>, out: Out<'_>) {
    assert!(x.cols == w.rows && out.rows >= x.n && out.cols >= w.cols, "a product of unequal sizes");
    let quads = x.n / 4 * 4;
    // SAFETY: the sizes were checked above.
    unsafe {
        (0..quads).step_by(4).for_each(|r| across::<L, E, 4>(x, w, out, r));
        (quads..x.n).for_each(|r| across::<L, E, 1>(x, w, out, r));
    }
}

/// `R` rows from `r`, over all columns: four vectors at a time, then one, then single elements.
#[inline(always)]
unsafe fn across<L: Lanes, E: Element, const R: usize>(x: Rows<'_>, w: Block<'_, E>, out: Out<'_>, r: usize) {
    const WIDE: usize = 4 * LANES;
    let (wide, whole) = (w.cols / WIDE * WIDE, w.cols / LANES * LANES);
    // SAFETY: the strips end at `cols`.
    unsafe {
        (0..wide).step_by(WIDE).for_each(|c| strip::<L, E, R, 4>(x, w, out, r, c));
        (wide..whole).step_by(LANES).for_each(|c| strip::<L, E, R, 1>(x, w, out, r, c));
        for c in whole..w.cols {
            for i in r..r + R {
                let sum = |s, d: usize| L::fma1(s, *x.row(i).add(d), (*w.row(d).add(c)).one());
                out.set(i, c, (0..x.cols).fold(*out.at(i, c), sum));
            }
        }
    }
}

#[inline(always)]
unsafe fn strip<L: Lanes, E: Element, const R: usize, const C: usize>(x: Rows<'_>, w: Block<'_, E>, out: Out<'_>, r: usize, c: usize) {
    // SAFETY: columns c..c + 16·C of rows r..r + R exist (caller).
    unsafe {
        let mut sums: [[L; C]; R] = std::array::from_fn(|i| std::array::from_fn(|j| L::load(out.at(r + i, c + j * LANES))));
        for d in 0..x.cols {
            let row = w.row(d).add(c);
            let w: [L; C] = std::array::from_fn(|j| E::lanes(row.add(j * LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = L::splat(*x.row(r + i).add(d));
                sums.iter_mut().zip(w).for_each(|(s, w)| *s = s.fma(x, w));
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            sums.iter().enumerate().for_each(|(j, s)| s.store(out.at(r + i, c + j * LANES)));
        }
    }
}
