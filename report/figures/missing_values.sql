-- Which columns lack values?
-- Of users, all columns where a null means that something is unknown; of today's features, one of
-- each kind that can be null, where it means "never", or a ratio to nothing.
with

missing_values as (

    select
        'dim_users' as mart,
        count(*) as total_rows,
        stack(
            16,
            'registered_at', count_if(registered_at is null),
            'gender', count_if(gender is null),
            'location', count_if(location is null),
            'metro_area', count_if(metro_area is null),
            'state', count_if(state is null),
            'platform', count_if(platform is null),
            'is_paid', count_if(is_paid is null),
            'level', count_if(level is null),
            'first_event_at', count_if(first_event_at is null),
            'last_event_at', count_if(last_event_at is null),
            'active_days', count_if(active_days is null),
            'sessions', count_if(sessions is null),
            'events', count_if(events is null),
            'songs', count_if(songs is null),
            'distinct_songs', count_if(distinct_songs is null),
            'listening_milliseconds', count_if(listening_milliseconds is null)
        ) as (column_name, missing_rows)
    from {{ target.schema }}_published.dim_users
    union all
    select
        'churn_features' as mart,
        count(*) as total_rows,
        stack(
            16,
            'tenure_days', count_if(tenure_days is null),
            'hours_since_last_song', count_if(hours_since_last_song is null),
            'hours_since_last_advert', count_if(hours_since_last_advert is null),
            'hours_since_last_thumbs_down', count_if(hours_since_last_thumbs_down is null),
            'hours_since_last_error', count_if(hours_since_last_error is null),
            'hours_since_last_downgrade_visit', count_if(hours_since_last_downgrade_visit is null),
            'hours_since_last_upgrade_visit', count_if(hours_since_last_upgrade_visit is null),
            'thumbs_up_per_song_last_28_days', count_if(thumbs_up_per_song_last_28_days is null),
            'songs_per_session_last_28_days', count_if(songs_per_session_last_28_days is null),
            'songs_trend_7_over_21_days', count_if(songs_trend_7_over_21_days is null),
            'sessions_trend_7_over_21_days', count_if(sessions_trend_7_over_21_days is null),
            'thumbs_up_per_song_to_date', count_if(thumbs_up_per_song_to_date is null),
            'session_ends_per_advert_to_date', count_if(session_ends_per_advert_to_date is null),
            'upgrade_visits_per_free_song_to_date',
            count_if(upgrade_visits_per_free_song_to_date is null),
            'downgrade_visits_per_paid_song_to_date',
            count_if(downgrade_visits_per_paid_song_to_date is null),
            'idle_hours_per_session_to_date', count_if(idle_hours_per_session_to_date is null)
        ) as (column_name, missing_rows)
    from {{ target.schema }}_published.churn_features
    where
        snapshot_date = (
            select current_snapshot_date from {{ target.schema }}_published.churn_calendar
        )

)

select
    mart,
    column_name,
    missing_rows,
    total_rows,
    try_divide(missing_rows, total_rows) as missing_share
from missing_values
order by missing_rows desc, mart desc, column_name
