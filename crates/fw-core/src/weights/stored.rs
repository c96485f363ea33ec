//! How the numbers of a parameter lie in a file.

use std::collections::BTreeMap;

use burn::tensor::{DType, TensorData};

/// Numbers of a shape, row after row, in the bytes of their type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub dtype: DType,
    pub bytes: Vec<u8>,
}

/// Where the numbers of a parameter come from, and go to.
#[derive(Clone, Debug)]
pub(crate) enum Stored {
    /// A tensor of the file, under any of these names; all of them are written.
    Tensor {
        names: Vec<String>,
        shape: Vec<usize>,
    },
    /// A matrix whose rows are the columns of the parameter.
    Transposed(Box<Stored>),
    /// Runs of rows (first, number), one after another.
    Rows(Box<Stored>, Vec<(usize, usize)>),
    /// The same numbers in another shape.
    Reshaped(Box<Stored>, Vec<usize>),
    /// Tensors that are added up. What is written goes into the first; the others are 0.
    Sum(Vec<Stored>),
    /// Nothing in the file: the parameter has to be 0.
    Zeros(Vec<usize>),
}

impl Stored {
    /// A tensor with one name.
    pub fn tensor(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Stored::Tensor {
            names: vec![name.into()],
            shape: shape.into(),
        }
    }

    /// A matrix that lies there with its rows as columns.
    pub fn transposed(self) -> Self {
        Stored::Transposed(Box::new(self))
    }

    /// Equal blocks of rows in another order: of each block of the parameter, which block of the tensor it is.
    pub fn blocks(self, order: &[usize]) -> Self {
        let is_same = order
            .iter()
            .enumerate()
            .all(|(index, block)| index == *block);
        if is_same {
            return self;
        }
        let rows = self.shape()[0] / order.len();
        let runs = order.iter().map(|block| (block * rows, rows)).collect();
        self.rows(runs)
    }

    /// Some of the rows.
    pub fn rows(self, runs: Vec<(usize, usize)>) -> Self {
        Stored::Rows(Box::new(self), runs)
    }

    /// The same numbers in another shape.
    pub fn reshaped(self, shape: impl Into<Vec<usize>>) -> Self {
        Stored::Reshaped(Box::new(self), shape.into())
    }

    /// The shape of the parameter.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Stored::Tensor { shape, .. } | Stored::Reshaped(_, shape) | Stored::Zeros(shape) => {
                shape.clone()
            }
            Stored::Transposed(of) => of.shape().into_iter().rev().collect(),
            Stored::Rows(of, runs) => {
                let mut shape = of.shape();
                shape[0] = runs.iter().map(|(_, n)| n).sum();
                shape
            }
            Stored::Sum(parts) => parts[0].shape(),
        }
    }

    /// The tensors of the file that it needs: their names and shape.
    pub fn tensors<'a>(&'a self, found: &mut Vec<(&'a [String], &'a [usize])>) {
        match self {
            Stored::Tensor { names, shape } => found.push((names, shape)),
            Stored::Transposed(of) | Stored::Rows(of, _) | Stored::Reshaped(of, _) => {
                of.tensors(found);
            }
            Stored::Sum(parts) => parts.iter().for_each(|part| part.tensors(found)),
            Stored::Zeros(_) => {}
        }
    }

    /// Gives the tensors of the file other names.
    pub(super) fn rename(&mut self, name: &impl Fn(&str) -> String) {
        match self {
            Stored::Tensor { names, .. } => {
                for old in names {
                    *old = name(old);
                }
            }
            Stored::Transposed(of) | Stored::Rows(of, _) | Stored::Reshaped(of, _) => {
                of.rename(name);
            }
            Stored::Sum(parts) => parts.iter_mut().for_each(|part| part.rename(name)),
            Stored::Zeros(_) => {}
        }
    }

    /// The parameter's numbers, from a way to get a tensor by its names, in its type.
    pub(super) fn read<E>(
        &self,
        dtype: DType,
        get: &mut impl FnMut(&[String]) -> Result<Array, E>,
    ) -> Result<Array, E> {
        Ok(match self {
            Stored::Tensor { names, .. } => get(names)?,
            Stored::Transposed(of) => of.read(dtype, get)?.transposed(),
            Stored::Rows(of, runs) => of.read(dtype, get)?.rows(runs),
            Stored::Reshaped(of, shape) => Array {
                shape: shape.clone(),
                ..of.read(dtype, get)?
            },
            Stored::Sum(parts) => {
                let first = parts[0].read(dtype, get)?;
                let rest = parts[1..].iter();
                rest.map(|part| part.read(dtype, get))
                    .try_fold(first, |sum, part| Ok(sum.plus(&part?)))?
            }
            Stored::Zeros(shape) => Array::zeros(shape, dtype),
        })
    }

    /// Puts the parameter's numbers where they belong among the tensors of a file.
    ///
    /// # Errors
    /// What speaks against it: numbers that have to be 0 there and are not, or a tensor of which another part has another type.
    pub(super) fn write(
        &self,
        array: Array,
        into: &mut BTreeMap<String, Array>,
    ) -> Result<(), String> {
        match self {
            Stored::Tensor { names, .. } => {
                for name in names {
                    into.insert(name.clone(), array.clone());
                }
                Ok(())
            }
            Stored::Transposed(of) => of.write(array.transposed(), into),
            Stored::Rows(of, runs) => {
                let mut whole = of.written(array.dtype, into);
                if whole.dtype != array.dtype {
                    return Err(format!(
                        "is of type {:?}, and what lies in the same tensor of type {:?}; they must be the same",
                        array.dtype, whole.dtype
                    ));
                }
                whole.set_rows(runs, &array);
                of.write(whole, into)
            }
            Stored::Reshaped(of, _) => {
                let shape = of.shape();
                of.write(Array { shape, ..array }, into)
            }
            Stored::Sum(parts) => parts.iter().enumerate().try_for_each(|(index, part)| {
                let array = match index {
                    0 => array.clone(),
                    _ => Array::zeros(&array.shape, array.dtype),
                };
                part.write(array, into)
            }),
            Stored::Zeros(_) => match array.is_zero() {
                true => Ok(()),
                false => Err("is not 0, and nothing there is called so".to_owned()),
            },
        }
    }

    /// What has been written of it so far; 0 where nothing has.
    fn written(&self, dtype: DType, into: &BTreeMap<String, Array>) -> Array {
        let so_far = self.read(dtype, &mut |names: &[String]| {
            into.get(&names[0]).cloned().ok_or(())
        });
        so_far.unwrap_or_else(|()| Array::zeros(&self.shape(), dtype))
    }
}

impl Array {
    pub fn new(data: TensorData) -> Self {
        let (bytes, shape, dtype) = data.into_parts();
        Array {
            shape: shape.to_vec(),
            dtype,
            bytes: bytes.to_vec(),
        }
    }

    pub fn into_data(self) -> TensorData {
        TensorData::from_bytes_vec(self.bytes, self.shape, self.dtype)
    }

    fn zeros(shape: &[usize], dtype: DType) -> Self {
        let n: usize = shape.iter().product();
        // Zero is all bits 0 in every type.
        Array {
            shape: shape.to_vec(),
            dtype,
            bytes: vec![0; n * dtype.size()],
        }
    }

    fn is_zero(&self) -> bool {
        let numbers = self.clone().into_data();
        numbers.iter::<f64>().all(|number| number == 0.0)
    }

    fn transposed(self) -> Self {
        let (rows, columns, size) = (self.shape[0], self.shape[1], self.dtype.size());
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for column in 0..columns {
            for row in 0..rows {
                let first = (row * columns + column) * size;
                bytes.extend_from_slice(&self.bytes[first..first + size]);
            }
        }
        Array {
            shape: vec![columns, rows],
            dtype: self.dtype,
            bytes,
        }
    }

    /// Bytes of a row.
    fn row(&self) -> usize {
        self.shape[1..].iter().product::<usize>() * self.dtype.size()
    }

    fn rows(self, runs: &[(usize, usize)]) -> Self {
        let row = self.row();
        let bytes = runs.iter();
        let bytes = bytes.flat_map(|(first, n)| &self.bytes[first * row..(first + n) * row]);
        let bytes = bytes.copied().collect();
        let mut shape = self.shape.clone();
        shape[0] = runs.iter().map(|(_, n)| n).sum();
        Array {
            shape,
            dtype: self.dtype,
            bytes,
        }
    }

    fn set_rows(&mut self, runs: &[(usize, usize)], rows: &Array) {
        let (row, mut taken) = (self.row(), 0);
        for (first, n) in runs {
            let from = &rows.bytes[taken..taken + n * row];
            self.bytes[first * row..(first + n) * row].copy_from_slice(from);
            taken += n * row;
        }
    }

    /// The sum of two arrays, rounded once, in the wider type.
    fn plus(self, other: &Array) -> Self {
        let dtype = match other.dtype.size() > self.dtype.size() {
            true => other.dtype,
            false => self.dtype,
        };
        let shape = self.shape.clone();
        let (one, other) = (self.into_data(), other.clone().into_data());
        let sums = one.iter::<f64>().zip(other.iter::<f64>());
        let sums: Vec<f64> = sums.map(|(one, other)| one + other).collect();
        Array::new(TensorData::new(sums, shape).convert_dtype(dtype))
    }
}
