//! Rows of numbers inside a larger buffer: what kernels read and write.
//!
//! ```text
//! queries of head 1 of 3:  Rows { offset 1·192, stride 3·192, cols 192 }
//! ```
use std::marker::PhantomData;

/// `n` rows of `cols` values, `stride` apart.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [f32],
    pub n: usize,
    pub cols: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    /// Panics where the last row would lie outside `data`.
    pub fn new(data: &'a [f32], n: usize, cols: usize, stride: usize) -> Self {
        assert!(n == 0 || (n - 1) * stride + cols <= data.len(), "rows outside their buffer");
        Self { data, n, cols, stride }
    }

    /// All of `data` as rows of `cols`.
    pub fn all(data: &'a [f32], cols: usize) -> Self {
        Self::new(data, data.len() / cols, cols, cols)
    }

    /// Rows `first..first + n`.
    pub fn part(self, first: usize, n: usize) -> Self {
        assert!(first + n <= self.n, "a part outside its rows");
        Self { data: &self.data[if n == 0 { 0 } else { first * self.stride }..], n, ..self }
    }

    /// One row.
    pub fn get(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..][..self.cols]
    }

    pub(super) fn row(&self, i: usize) -> *const f32 {
        debug_assert!(i < self.n);
        self.data[i * self.stride..].as_ptr()
    }
}

/// Rows to write. Copies of one view may be used by several threads, each for columns (or rows) of its own.
#[derive(Clone, Copy)]
pub struct Out<'a> {
    data: *mut f32,
    pub rows: usize,
    pub cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: an `Out` stands for a `&mut [f32]`, which may go to another thread; `set` and `at`, the only ways to touch the
// data, are unsafe and leave it to the caller that no two threads use the same element.
unsafe impl Send for Out<'_> {}
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    /// Panics where the last row would lie outside `data`.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + cols <= data.len(), "rows outside their buffer");
        Self { data: data.as_mut_ptr(), rows, cols, stride, life: PhantomData }
    }

    /// All of `data` as rows of `cols`.
    pub fn all(data: &'a mut [f32], cols: usize) -> Self {
        let rows = data.len() / cols;
        Self::new(data, rows, cols, cols)
    }

    /// Rows `first..first + rows` and columns `column..column + cols`.
    pub fn part(self, first: usize, rows: usize, column: usize, cols: usize) -> Self {
        assert!(first + rows <= self.rows && column + cols <= self.cols, "a part outside its view");
        // SAFETY: inside the buffer, as just checked (an empty part may point to its end).
        let data = unsafe { self.data.add(if rows * cols == 0 { 0 } else { first * self.stride + column }) };
        Self { data, rows, cols, ..self }
    }

    /// # Safety
    /// The element must lie in the view, and no other thread may use it meanwhile.
    #[inline(always)]
    pub unsafe fn at(&self, row: usize, col: usize) -> *mut f32 {
        debug_assert!(row < self.rows && col < self.cols);
        // SAFETY: inside the buffer (caller).
        unsafe { self.data.add(row * self.stride + col) }
    }

    /// # Safety
    /// As [`Out::at`].
    #[inline(always)]
    pub unsafe fn set(&self, row: usize, col: usize, value: f32) {
        // SAFETY: the caller's contract.
        unsafe { *self.at(row, col) = value }
    }

    /// One row as a slice.
    ///
    /// # Safety
    /// No other thread may use the row meanwhile, and no other slice of it may be alive.
    pub unsafe fn row(self, row: usize) -> &'a mut [f32] {
        assert!(row < self.rows);
        // SAFETY: inside the buffer; alone (caller).
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride), self.cols) }
    }
}
