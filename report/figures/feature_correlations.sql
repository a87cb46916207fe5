-- Which features move together, and which with a cancellation?
-- Spearman's rank correlation: the counts are skewed. Snapshots ten days apart, so that no two
-- labels of a user look at the same days; of each pair of features one order is enough.
with

last_known as (

    select max(snapshot_date) as snapshot_date
    from {{ target.schema }}_published.churn_features
    where is_churned_next_10_days is not null

),

long_rows as (

    select
        concat_ws(' ', features.user_id, features.snapshot_date) as snapshot_key,
        stack(
            13,
            'is_churned_next_10_days', cast(features.is_churned_next_10_days as double),
            'is_paid', cast(features.is_paid as double),
            'tenure_days', cast(features.tenure_days as double),
            'hours_since_last_event', cast(features.hours_since_last_event as double),
            'active_days_last_28_days', cast(features.active_days_last_28_days as double),
            'sessions_last_28_days', cast(features.sessions_last_28_days as double),
            'songs_last_28_days', cast(features.songs_last_28_days as double),
            'songs_last_7_days', cast(features.songs_last_7_days as double),
            'thumbs_up_last_28_days', cast(features.thumbs_up_last_28_days as double),
            'thumbs_down_last_28_days', cast(features.thumbs_down_last_28_days as double),
            'adverts_last_28_days', cast(features.adverts_last_28_days as double),
            'errors_last_28_days', cast(features.errors_last_28_days as double),
            'friend_adds_last_28_days', cast(features.friend_adds_last_28_days as double)
        ) as (feature, value)
    from {{ target.schema }}_published.churn_features as features
    cross join last_known
    where
        features.is_churned_next_10_days is not null
        and datediff(last_known.snapshot_date, features.snapshot_date) % 10 = 0

),

ranks as (

    -- equal values share the mean of their ranks
    select
        snapshot_key,
        feature,
        rank() over (partition by feature order by value)
        + (count(*) over (partition by feature, value) - 1) / 2 as value_rank
    from long_rows
    where value is not null

)

select
    one.feature,
    other.feature as other_feature,
    count(*) as snapshots,
    corr(one.value_rank, other.value_rank) as correlation
from ranks as one
inner join ranks as other
    on
        one.snapshot_key = other.snapshot_key
        and one.feature < other.feature
group by one.feature, other.feature
order by one.feature, other.feature
